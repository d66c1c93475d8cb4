"""The fuzz lane: whatever a file holds, its reader answers or refuses it, in bounded memory and nowhere else."""
