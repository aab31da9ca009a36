"""A small shop: FastAPI, SQLAlchemy, and a database that sleeps while nobody orders."""

import os
from collections.abc import Iterator

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

# SQLAlchemy names the driver in the scheme. No pool of its own: a connection that is kept open keeps the database awake.
DSN = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
engine = create_engine(DSN, poolclass=NullPool)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]


Base.metadata.create_all(engine)
app = FastAPI()


def session() -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


@app.post("/orders/{article}")
def order(article: str, database: Session = Depends(session)) -> dict[str, int]:
    placed = Order(article=article)
    database.add(placed)
    database.commit()
    return {"id": placed.id}


@app.get("/orders")
def orders(database: Session = Depends(session)) -> list[str]:
    return [found.article for found in database.query(Order).order_by(Order.id)]
