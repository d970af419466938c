"""Search: what expressions over records are made of.

Revision: 0012
After: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# PostgreSQL calls array_to_string stable since it is, for some types; for texts it always comes to the same.
JOINED = """
CREATE FUNCTION stoa.joined(texts text[]) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN array_to_string(texts, chr(10))
"""
# A text that ends with * has a last word that may be the beginning of one.
SEARCH_QUERY = """
CREATE FUNCTION stoa.search_query(language regconfig, asked text) RETURNS tsquery
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN right(asked, 1) = '*' AND numnode(websearch_to_tsquery(language, lower(asked))) > 0
    THEN (websearch_to_tsquery(language, lower(asked))::text || ':*')::tsquery
    ELSE websearch_to_tsquery(language, lower(asked))
END
"""
# Whoever may create objects in the database may create these extensions. Without pg_trgm, declarations that need it are
# refused; without unaccent, letters with accents are letters of their own.
EXTENSION = """
DO $$ BEGIN
    CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public;
EXCEPTION WHEN undefined_file OR feature_not_supported OR insufficient_privilege THEN
    RAISE NOTICE '{name} is not there: %', SQLERRM;
END $$
"""
# The letters that words are compared by. What unaccent comes to depends on a file of the server's, so that it isn't
# called immutable; that file is part of the server's version.
LETTERS = """
DO $$ DECLARE home text = (
    SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'unaccent'
);
BEGIN
    EXECUTE format(
        'CREATE FUNCTION stoa.letters(words text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN %s',
        CASE WHEN home IS NULL THEN 'lower(words)'
        ELSE format('lower(%1$I.unaccent(''%1$I.unaccent''::regdictionary, words))', home) END
    );
END $$
"""


def upgrade() -> None:
    for sql in (EXTENSION.format(name="pg_trgm"), EXTENSION.format(name="unaccent"), JOINED, SEARCH_QUERY, LETTERS):
        op.execute(sql)


def downgrade() -> None:
    op.execute("DROP FUNCTION stoa.letters(text)")
    op.execute("DROP FUNCTION stoa.search_query(regconfig, text)")
    op.execute("DROP FUNCTION stoa.joined(text[])")
