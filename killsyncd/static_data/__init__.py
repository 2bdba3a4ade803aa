"""CCP's static data (SDE): which group and category a type has, which region and security a system has.

So far the reader: the archive by ranges, its records as rows. The task that keeps them is to come. Knows
config and core.
"""
