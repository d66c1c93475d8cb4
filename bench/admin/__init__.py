"""What the admin's pages take with 100,000 deployments."""
