"""Set-up of a checkout: environments, server binaries, models. Runs on the standard library alone."""
