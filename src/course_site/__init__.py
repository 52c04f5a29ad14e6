"""The site: the labs to read, and their models to try in a browser tab, made into ``build/site`` by one command."""
