"""What can be read: folders, archives, tables, arrays and data sets that libraries ship."""
