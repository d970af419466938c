"""Names that follow from others."""

from uuid import UUID, uuid5

# RootCX, identifiers: what a delegation is given with when somebody links their account.
NAMESPACE = UUID("b12c3d4e-5f60-4172-8394-a5b6c7d8e9fa")


def reference(channel_id: UUID, user_id: UUID) -> UUID:
    """Of the delegation that somebody gives by being known in a channel."""
    return uuid5(NAMESPACE, f"{channel_id}:{user_id}")
