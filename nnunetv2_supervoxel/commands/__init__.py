"""The commands, one file each: what is on the command line, the call, and what is printed.

Heavy imports (PyTorch, nnU-Net, SimpleITK) stand inside `main`, after the command line and the config are checked. So
`-h` and mistakes are answered at once.
"""
