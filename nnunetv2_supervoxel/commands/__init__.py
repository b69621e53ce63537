"""The commands, one file each: what is on the command line, the call, and what is printed."""
