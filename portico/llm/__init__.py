"""Language-model routes: configuration, choice, clients, metering."""
