"""Files that may be damaged, hostile or on a full disk, and folders that several processes use."""
