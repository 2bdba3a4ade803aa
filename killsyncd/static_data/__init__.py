"""CCP's static data (SDE): which group and category a type has, which region and security a system has.

A task fetches the newest export once a day and has it swapped in whole. Knows config and core; storage
fills its port.
"""
