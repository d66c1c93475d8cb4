"""The pages of one deployment in the admin, a module for each tab: thin callers of the operations."""
