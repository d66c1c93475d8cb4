"""Models in the admin: the list, one model's pages, and the page that imports one."""

from apps.models.admin.changelist import ModelAdmin

__all__ = ["ModelAdmin"]
