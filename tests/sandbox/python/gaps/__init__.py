"""What ministack does not model and Baton depends on. Each module closes one gap."""
