"""CCP's static data (SDE): which group and category a type has, which region and security a system has.

The archive by ranges, its records as rows, and the task that keeps the tables up to date. Knows core alone;
storage fills its ports.
"""
