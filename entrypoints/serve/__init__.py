"""The processes of Portico: their wiring, start and shutdown."""
