"""Long lists ask the database the same little, on their first page and on a far one."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.deployments.models import Deployment, Version
from apps.deployments.statuses import Outcome, Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from tests.admin.test_pages import LIST, person

MODELS = "/admin/models/model/"
ROWS = 620  # so many that the last page is a far one


@pytest.fixture
def many(db: None) -> Any:
    """Very many deployments of one model, each with a version, in every status; and many models."""
    models = Model.objects.bulk_create(
        Model(pk=f"mdl_{n}", name=f"m{n}", status=ModelStatus.READY, format=Format.ONNX) for n in range(ROWS)
    )
    statuses = list(Status)
    rows = Deployment.objects.bulk_create(
        Deployment(pk=f"dep_{n}", name=f"d{n}", model=models[0], runtime="echo", status=statuses[n % 6], tags=["eu"])
        for n in range(ROWS)
    )
    versions = Version.objects.bulk_create(Version(deployment=row, number=1, outcome=Outcome.PENDING) for row in rows)
    for row, version in zip(rows, versions, strict=True):
        row.target_version = version
    Deployment.objects.bulk_update(rows, ["target_version"])


@pytest.mark.parametrize("address", [
    LIST, f"{LIST}?p=12", f"{LIST}?status__exact=failed", f"{LIST}?tag=eu", f"{LIST}?q=d", f"{LIST}?q=d+1",
    f"{LIST}?o=1",
    f"{LIST}?model__id__exact=mdl_0", f"{LIST}?model__id__exact=mdl_0&p=12", MODELS, f"{MODELS}?p=12", f"{MODELS}?q=m",
    "/admin/",
])  # fmt: skip
def test_a_page_takes_few_queries_however_many_rows_there_are(
    many: None, django_assert_max_num_queries: DjangoAssertNumQueries, address: str
) -> None:
    client = person()
    client.get(address)
    with django_assert_max_num_queries(9):
        assert client.get(address).status_code == 200


@pytest.mark.parametrize("query", ["", "&model__id__exact=mdl_0", "&o=1"])
def test_pages_show_every_row_once_in_the_lists_order(many: None, query: str) -> None:
    client = person()
    pages = [client.get(f"{LIST}?p={number}{query}").context["cl"].result_list for number in range(1, 14)]
    shown = [row.pk for page in pages for row in page]
    first = ["name"] if "o=1" in query else ["-added_at", "-pk"]
    assert shown == list(Deployment.objects.order_by(*first).values_list("pk", flat=True))
