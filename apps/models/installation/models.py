"""What a database is called by the files that belong to it."""

from django.db import models

from modelyard import ids


class Installation(models.Model):
    """The one row that says which installation this database is of; `models/.installation` says it of the files."""

    identifier = models.CharField(max_length=24, default=ids.installation, editable=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.identifier
