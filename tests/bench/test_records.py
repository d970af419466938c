"""The records group of the benchmarks asks all sides for the same records, and reads their answers to the end."""

import pytest

from bench import crm
from bench.load import Measured, _whole
from bench.records import Figures
from bench.sides import LIMIT, REST_CREATE, STOA, WORKLOADS, stoa_asks
from tests.harness import Stoa

SIZES = crm.Sizes(companies=4, contacts=8, deals=16)


async def test_the_records_are_there_and_every_request_for_them_is_answered(fresh: Stoa) -> None:
    admin = fresh.person("ada")
    admin.client.post("/api/v1/apps", json=crm.MANIFEST).raise_for_status()
    await crm.fill(fresh.database_url, SIZES)
    counts = {
        entity: fresh.sql(f"SELECT count(*) AS count FROM crm.{entity}")[0]["count"]
        for entity in ("companies", "contacts", "deals")
    }
    assert counts == {"companies": 4, "contacts": 8, "deals": 16}
    assert fresh.sql("SELECT count(*) AS count FROM stoa.audit_log WHERE entity = 'contacts'")[0]["count"] == 0
    asks = stoa_asks(SIZES, 2)
    assert tuple(asks) == WORKLOADS
    for workload, asked in asks.items():
        for ask in asked:
            answer = admin.client.request(ask.method, ask.path, json=ask.body)
            assert answer.status_code == (201 if workload == REST_CREATE else 200), answer.text
            assert "errors" not in answer.json(), answer.text
    assert fresh.sql("SELECT count(*) AS count FROM stoa.audit_log WHERE entity = 'contacts'")[0]["count"] == 4


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_when_its_length_or_its_last_chunk_is_there(answer: bytes, whole: bool) -> None:
    assert _whole(answer, answer.index(b"\r\n\r\n")) is whole


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    figures = Figures("get by id", 16)
    figures.rounds[STOA] += [Measured(rate, 1, 1) for rate in (100, 10, 50)]
    figures.rounds[LIMIT] += [Measured(rate, 1, 1) for rate in (200, 40, 25)]
    assert figures.ratio(LIMIT) == 0.5
