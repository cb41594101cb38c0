"""Where Portico stores things: one module a noun; engines, live hub and objects below."""
