"""What the tester cannot know from the description: a media type of our own, and which requests
are answered late on purpose when they meet a dispatch that nobody starts."""

import schemathesis

#: What the server reads as yes in a query.
YES = {"true", "1", "yes", "on", "t", "y"}
#: Longest wait for the end of a dispatch that the server takes. Seconds.
WAIT_MAX = 60

# Any bytes may be sent as such a body.
schemathesis.serializer.alias("application/vnd.cov.dispatch", "application/octet-stream")


@schemathesis.hook
def before_call(context, case, **arguments):
    """Follows no log, and waits a second for an end where it was to wait longer."""
    query = case.query or {}
    if words(query.get("follow")) & YES:
        del query["follow"]
    if words(query.get("wait")) & {str(seconds) for seconds in range(2, WAIT_MAX + 1)}:
        query["wait"] = 1


def words(value: object) -> set[str]:
    """The values of a parameter, which may be given more than once, as a query has them."""
    values = value if isinstance(value, list) else [value]
    return {str(each).lower() for each in values}
