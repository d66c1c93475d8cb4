"""Going through the wizard as a browser does: each step is loaded, filled in and sent."""

from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from apps.deployments.models import Deployment, Draft
from apps.models.models import Model

ORDER = ("general", "optimization", "parameters", "hardware", "review")


class Walk:
    """One draft in one browser."""

    def __init__(self, client: Client, *, model: Model | None = None, deployment: Deployment | None = None) -> None:
        self.client = client
        if deployment:
            start = reverse("admin:deployments_deployment_redeploy", args=[deployment.pk])
        else:
            start = reverse("admin:deployments_deployment_add")
        answer = client.get(start, {"model": model.pk} if model else {})
        assert answer.status_code == 302, answer.content.decode()[:2000]
        self.base = answer.headers["Location"].removesuffix("general/")

    @property
    def draft(self) -> Draft:
        """As it is kept."""
        return Draft.objects.get(pk=self.base.rstrip("/").rpartition("/")[2])

    def see(self, step: str) -> Any:
        """The page of a step."""
        return self.client.get(f"{self.base}{step}/")

    def fields(self, step: str) -> dict[str, str]:
        """What a browser would send for a step as it is shown."""
        form = self.see(step).context["form"]
        values = {name: form[name].value() for name in form.fields}
        return {name: str(value) for name, value in values.items() if value not in (None, "", False)}

    def send(self, step: str, go: str = "next", **values: Any) -> Any:
        """Fill a step in and press a button; a value of None takes a field away."""
        sent = {**self.fields(step), **values, "go": go}
        return self.client.post(
            f"{self.base}{step}/", {name: value for name, value in sent.items() if value is not None}
        )

    def to_review(self, **values: Any) -> Any:
        """Through every step with these values, each where it is asked for; the review's page."""
        for step in ORDER[:-1]:
            form = self.see(step).context["form"]
            answer = self.send(step, **{name: value for name, value in values.items() if name in form.fields})
            assert answer.status_code == 302, answer.context["summary"]
        return self.see("review")

    def finish(self, go: str = "deploy", **values: Any) -> HttpResponse:
        """To the review, and the last button."""
        self.to_review(**values)
        answer: HttpResponse = self.send("review", go, accepted="on")
        return answer
