"""How files get on the disk: a whole file, a whole folder, a lock, a manifest, digests."""
