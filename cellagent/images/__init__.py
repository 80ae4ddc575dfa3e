"""Container images: pulled, verified, unpacked, kept, handed out as layers."""
