"""Files on disks and in object stores: what is written whole, synced and read without trust. Does not use Ray."""
