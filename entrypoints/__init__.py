"""What starts: the command line and the processes api, worker and listener. Imports every layer."""
