"""CCP's static data (SDE): which group and category a type has, which region and security a system has.

`archive` reads only those parts of CCP's zip file that are needed, `records` makes rows of them, `task` keeps
the tables up to date. Knows core alone; storage fills its ports.
"""
