"""The machine: its processor, processes, memory, files, the folders of runs, and bars that show how far work is."""
