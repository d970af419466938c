"""Expressions in declarations: what computes is taken, everything that could do more is not."""

import pytest

from domain.apps.expressions import checked_expression
from domain.kernel.errors import Invalid

COLUMNS = frozenset({"id", "amount", "code", "day", "starts_at", "tags"})


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("amount > 0", '"amount" > 0'),
        ("Amount >= 1e3 AND amount<=1.5", '"amount" >= 1e3 AND "amount" <= 1.5'),
        ("lower(code)", 'lower ( "code" )'),
        ("code ~ '^[A-Z]+\\d$'", "\"code\" ~ '^[A-Z]+\\d$'"),
        ("code <> 'it''s -- no comment'", "\"code\" <> 'it''s -- no comment'"),
        ("amount BETWEEN 1 AND 2 OR amount IS NULL", '"amount" BETWEEN 1 AND 2 OR "amount" IS NULL'),
        ("code in ('a', 'b')", "\"code\" in ( 'a' , 'b' )"),
        ("cardinality(tags) <= 3", 'cardinality ( "tags" ) <= 3'),
        ("'x' = any(tags)", "'x' = any ( \"tags\" )"),
        ("case when amount > 1 then true else false end", 'case when "amount" > 1 then true else false end'),
        ("amount::numeric(10, 2) % 2 = 0", '"amount" :: numeric ( 10 , 2 ) % 2 = 0'),
        ("extract(day from starts_at) = 1", 'extract ( day from "starts_at" ) = 1'),
        ('"day" > 1', '"day" > 1'),
        ("starts_at > interval '1 day' + now()", "\"starts_at\" > interval '1 day' + now ( )"),
        ("select = 1", '"select" = 1'),
        ("tags[1] = 'a'", "\"tags\" [ 1 ] = 'a'"),
    ],
)
def test_what_computes_is_taken_and_its_columns_are_quoted(written: str, made: str) -> None:
    assert checked_expression(written, {*COLUMNS, "select"}, "expr") == made


@pytest.mark.parametrize(
    "written",
    [
        "",
        "   ",
        "pg_sleep(10) is null",
        '"pg_sleep"(10)',
        'pg_catalog."pg_sleep"(10)',
        "pg_catalog.pg_sleep(10)",
        "PG_SLEEP (10)",
        "(select 1) = 1",
        "exists (select from stoa.users)",
        "select (1)",
        "lower((table stoa_users))",
        "amount > 0; drop table x",
        "amount > 0) , add column evil int",
        "amount > 0 -- rest",
        "amount > 0 /* rest */",
        "amount > - - 1 --",
        # an escape string ends elsewhere than a plain one: what follows would not be inside it
        "E'\\'' = pg_sleep(10)::text -- '\n",
        "e'\\'' || query_to_xml('x') || '",
        "U&'\\0027' = code",
        "code = E'x'",
        "code = N'x'",
        "code = $$x$$",
        "code = $1",
        "code = 'unfinished",
        "current_setting('stoa.actor') = code",
        "set_config('stoa.actor', '', true) = ''",
        "code = current_user",
        "code = session_user",
        "xmin > 1",
        "ctid is not null",
        "tableoid = 1",
        "other_column > 1",
        '"other_column" > 1',
        '"Code" = 1',
        "parcels is not null",
        "'stoa.users'::regclass is not null",
        "code collate \"C\" > 'a'",
        "amount operator(pg_catalog.>) 1",
        "code\u00a0> 'a'",
        "length\u00a0(code) > 1",
        "amount > \u0663",
        "code > 'a' \x00",
        "repeat(code, 1000000000) > ''",
        "lo_import('/etc/passwd') > 0",
        "x" * 2001,
        "(amount > 0",
        "amount > 0)",
        ")amount(",
    ],
)
def test_what_could_do_more_is_refused_with_its_path(written: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_expression(written, COLUMNS, "dataContract.0.checks.0.expr")
    assert refused.value.field == "dataContract.0.checks.0.expr"
