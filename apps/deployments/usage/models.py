"""The ledger and its sums. No foreign keys: IDs and the names of that moment, so that no delete erases usage."""

from typing import ClassVar

from django.db import models


class UsageRecord(models.Model):
    """One call that had a valid key, answered or refused. Written in batches, see `ledger`."""

    at = models.DateTimeField("began")
    request_id = models.CharField(max_length=128)
    account = models.CharField(max_length=24, help_text="What a line of rotated keys has in common; empty: no key.")
    key_id = models.CharField(max_length=24, blank=True)
    key_name = models.CharField(max_length=100, blank=True)
    user_name = models.CharField(max_length=150, blank=True, help_text="Who called without a key.")
    deployment_id = models.CharField(max_length=24)
    deployment_name = models.CharField(max_length=100)
    version = models.PositiveIntegerField(default=0)
    model_id = models.CharField(max_length=24, blank=True)
    model_name = models.CharField(max_length=200, blank=True)
    path = models.CharField(max_length=200)
    status = models.PositiveSmallIntegerField(help_text="HTTP status; 499: the caller left before it was answered.")
    error = models.CharField(max_length=64, blank=True, help_text="The gateway's code, if it was the one to answer.")
    streamed = models.BooleanField(default=False)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False, help_text="The engine didn't say; counted by what passed.")
    first_byte_ms = models.FloatField(null=True)
    duration_ms = models.FloatField(default=0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    client = models.CharField(max_length=45, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        default_permissions = ("view",)
        indexes: ClassVar = [
            models.Index(fields=["account", "at"], name="usage_by_account"),
            models.Index(fields=["deployment_id", "at"], name="usage_by_deployment"),
        ]

    def __str__(self) -> str:
        return self.request_id


class Sums(models.Model):
    """What the calls of one account to one deployment came to in one stretch of time."""

    account = models.CharField(max_length=24)
    key_name = models.CharField(max_length=100, blank=True)
    deployment_id = models.CharField(max_length=24)
    deployment_name = models.CharField(max_length=100)
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0, help_text="Answered with 400 or above, but for refusals by a limit.")
    limited = models.BigIntegerField(default=0, help_text="Refused by a limit.")
    estimated = models.BigIntegerField(default=0, help_text="Requests whose tokens were estimated.")
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(default=0)
    first_byte_ms = models.FloatField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.account} {self.deployment_id}"


class UsageHour(Sums):
    """Sums of an hour."""

    start = models.DateTimeField()

    class Meta(Sums.Meta):
        abstract = False
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "start", "deployment_id"], name="one_sum_an_hour")
        ]
        indexes: ClassVar = [
            models.Index(fields=["deployment_id", "start"], name="hours_by_deployment"),
            models.Index(fields=["start"], name="hours_by_start"),  # the home page asks for the last day of all
        ]


class UsageDay(Sums):
    """Sums of a calendar day, in the zone that MODELYARD_TIME_ZONE names."""

    start = models.DateField()

    class Meta(Sums.Meta):
        abstract = False
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "start", "deployment_id"], name="one_sum_a_day")
        ]
        indexes: ClassVar = [
            models.Index(fields=["deployment_id", "start"], name="days_by_deployment"),
            models.Index(fields=["start"], name="days_by_start"),  # they stay for ever, and a month of all is asked for
        ]


class Batch(models.Model):
    """A batch that was written: one whose fate was unknown isn't written twice. Kept for a day."""

    id = models.CharField(primary_key=True, max_length=64)
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.id


class Gap(models.Model):
    """Calls that the ledger lacks: their number, and why."""

    at = models.DateTimeField(auto_now_add=True)
    lost = models.BigIntegerField()
    reason = models.CharField(max_length=16, help_text="killed: a web process was killed; full: the buffer was.")

    class Meta:
        ordering: ClassVar = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.lost} ({self.reason})"


class Capture(models.Model):
    """Input and output of one call, redacted, where its deployment asks for that."""

    at = models.DateTimeField(db_index=True)
    request_id = models.CharField(max_length=128, db_index=True)
    deployment_id = models.CharField(max_length=24, db_index=True)
    account = models.CharField(max_length=24, blank=True)
    path = models.CharField(max_length=200)
    status = models.PositiveSmallIntegerField()
    request = models.TextField(blank=True)
    response = models.TextField(blank=True)
    cut = models.BooleanField(default=False, help_text="It was longer than what is kept.")

    class Meta:
        ordering: ClassVar = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.request_id
