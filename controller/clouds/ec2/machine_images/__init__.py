"""Machine images in the account: a disk becomes a snapshot and an image, in each region; the newest is found."""
