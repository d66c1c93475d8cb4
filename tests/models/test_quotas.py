"""How much may be uploaded, by one person and by all."""

import threading

import pytest
from django.contrib.auth.models import User

from apps.models.uploads import operations
from modelyard.problems import Problem

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person(transactional_db: None) -> User:
    return User.objects.create_superuser("anna")


def test_quotas_hold_also_for_uploads_that_begin_at_once(person: User, settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 1000
    made, refused = [], []

    def work(number: int) -> None:
        from django.db import connection

        try:
            made.append(operations.begin(f"m{number}.zip", 400, by=person))
        except Problem as problem:
            refused.append(problem.code)
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), set(refused)) == (2, {"upload_quota"})
    settings.UPLOAD_QUOTA_BYTES, settings.UPLOADS_TOTAL_BYTES = 0, 900
    with pytest.raises(Problem, match="all uploads"):
        operations.begin("more.zip", 400, by=User.objects.create_user("otto"))


def test_the_number_and_the_disk_are_limits(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MAX_OPEN", 1)
    operations.begin("one.zip", 10, by=person)
    with pytest.raises(Problem, match="unfinished uploads"):
        operations.begin("two.zip", 10, by=person)
    monkeypatch.setattr(operations, "RESERVE", 10**15)
    with pytest.raises(Problem, match="doesn't fit"):
        operations.begin("three.zip", 10, by=User.objects.create_user("otto"))
