"""docs/differences.md is true: every statement on it answers what the page says, every recipe works. Here: running what the page writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from kit.platform import Platform

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "differences.md").read_text()
REFUSED = re.findall(r"^\| `([^`]+)` \| `([0-9A-Z]{5})` \|", PAGE, re.MULTILINE)
ALLOWED = re.findall(r"^\| `([^`]+)` \|$", PAGE, re.MULTILINE)
ALEMBIC, DJANGO = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MODELS = """
from sqlalchemy import Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str] = mapped_column(Text)
"""
DJANGO_APP = {
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop/models.py": "from django.db import models\n\n\nclass Order(models.Model):\n    article = models.TextField()\n",
    "shop/tests.py": (
        "from django.test import TestCase\n\nfrom shop.models import Order\n\n\nclass OrderTest(TestCase):\n"
        "    def test_it_is_kept(self):\n        Order.objects.create(article='tea')\n"
        "        self.assertEqual(Order.objects.count(), 1)\n"
    ),
}


def test_every_statement_answers_what_the_page_says(platform: Platform) -> None:
    assert len(REFUSED) > 20 and len(ALLOWED) > 8
    platform.create_database("different", "app")
    answered = {}
    with platform.connect("different", "app", autocommit=True) as connection:
        for statement, _ in REFUSED:
            try:
                if statement.startswith("prepare transaction"):
                    connection.execute("begin")
                connection.execute(statement)
                answered[statement] = "00000"
            except psycopg.Error as error:
                answered[statement] = error.sqlstate or ""
            finally:
                connection.execute("rollback")
        assert answered == dict(REFUSED)
        for statement in ALLOWED:
            connection.execute(statement)
    with pytest.raises(psycopg.OperationalError, match='"postgres" does not exist'):
        psycopg.connect(platform.dsn("different", "app").replace("/app?", "/postgres?"), connect_timeout=30)


@pytest.mark.parametrize(
    ("setting", "sqlstate"),
    [("local_preload_libraries = nosuch", "58P01"), ("transaction_timeout = 1", "25P04")],
)
def test_an_owner_who_has_locked_himself_out_comes_in_as_the_page_says(
    platform: Platform, setting: str, sqlstate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((options, statement),) = re.findall(
        r'^PGOPTIONS="([^"]+)" psql "\$DATABASE_URL" -c "([^"]+)"$', PAGE, re.MULTILINE
    )
    assert sqlstate in PAGE
    tenant = f"locked{sqlstate.lower()}"
    platform.create_database(tenant, "app")
    with platform.connect(tenant, "app", autocommit=True) as connection:
        connection.execute(f"alter role current_user set {setting}")
    with pytest.raises(psycopg.Error):
        with platform.connect(tenant, "app", autocommit=True) as connection:
            connection.execute("select pg_sleep(1)")
    monkeypatch.setenv("PGOPTIONS", options)
    with platform.connect(tenant, "app", autocommit=True) as connection:
        connection.execute(statement)
    monkeypatch.delenv("PGOPTIONS")
    with platform.connect(tenant, "app", autocommit=True) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_an_outbox_delivers_everything_once(platform: Platform) -> None:
    """What stands in for a replication slot."""
    platform.create_database("outbox", "app")
    take = (
        "delete from outbox where id in (select id from outbox order by id limit 3 for update skip locked) returning id"
    )
    with platform.connect("outbox", "app", autocommit=True) as writer:
        writer.execute("create table outbox (id bigint generated always as identity primary key, event text not null)")
        writer.execute("insert into outbox (event) select 'made' from generate_series(1, 20)")
    with platform.connect("outbox", "app") as one, platform.connect("outbox", "app") as other:
        first = [row[0] for row in one.execute(take)]
        second = [row[0] for row in other.execute(take)]  # while the first has not committed
        one.rollback()  # a consumer that dies has delivered nothing
        other.commit()
        delivered = list(second)
        while found := [row[0] for row in one.execute(take)]:
            one.commit()
            delivered += found
    assert first and second and not set(first) & set(second)
    assert sorted(delivered) == list(range(1, 21))


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the two tools."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = ["alembic", "sqlalchemy", "django<6", "psycopg[binary]"]
    done = subprocess.run([folder / "bin" / "pip", "install", "-q", *packages], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"the registry does not answer: {done.stderr[-300:]}")
    return folder / "bin"


def run(tools: Path, work: Path, platform: Platform, url: str, *command: str, code: int = 0) -> str:
    """A command of the environment in a folder; its words."""
    environment = {**os.environ, **platform.env, "DATABASE_URL": url, "PYTHONPATH": str(work)}
    done = subprocess.run(
        [tools / command[0], *command[1:]],
        cwd=work, env=environment | {"DJANGO_SETTINGS_MODULE": "settings"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def url_of(platform: Platform, name: str) -> str:
    text: str = platform.create_database("tools", name)["connection_string"]
    return text.replace("sslmode=require", "sslmode=verify-full")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_alembic(platform: Platform, tools: Path, tmp_path: Path) -> None:
    url = url_of(platform, "alembic")
    (tmp_path / "models.py").write_text(MODELS)
    run(tools, tmp_path, platform, url, "alembic", "init", "migrations")
    (tmp_path / "migrations" / "env.py").write_text(ALEMBIC)
    run(tools, tmp_path, platform, url, "alembic", "revision", "--autogenerate", "-m", "orders")
    run(tools, tmp_path, platform, url, "alembic", "upgrade", "head")
    assert "No new upgrade operations" in run(tools, tmp_path, platform, url, "alembic", "check")
    with platform.connect("tools", "alembic") as connection:
        connection.execute("insert into orders (article) values ('tea')")
    run(tools, tmp_path, platform, url, "alembic", "downgrade", "base")
    run(tools, tmp_path, platform, url, "alembic", "upgrade", "head")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_django(platform: Platform, tools: Path, tmp_path: Path) -> None:
    real, test = url_of(platform, "shop"), url_of(platform, "shop_test")
    for name, text in {**DJANGO_APP, "settings.py": DJANGO}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    django = ("python", "-m", "django")
    run(tools, tmp_path, platform, real, *django, "makemigrations", "shop")
    run(tools, tmp_path, platform, real, *django, "migrate")
    for _ in range(2):  # the kept database is used again
        assert "OK" in run(tools, tmp_path, platform, test, *django, "test", "--keepdb", "--noinput")
    (tmp_path / "settings.py").write_text(DJANGO.replace('"TEST": {"NAME": url.path[1:]},', ""))
    refused = run(tools, tmp_path, platform, real, *django, "test", "--noinput", code=2)
    assert "permission denied to create database" in refused  # the reason why the page has a recipe
