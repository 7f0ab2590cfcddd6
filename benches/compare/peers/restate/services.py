"""The workflows of the comparison as handlers of Restate, served by Hypercorn's worker processes.

`calls` has a task as a handler of its own, which the server calls on any of the workers. `steps` has a task as a
journaled step of the workflow's handler, which runs where the workflow runs.
"""

import restate
from restate.serde import BytesSerde

import work

# More journal entries that wait at the same time make the SDK slower for each: it looks through all of them.
STEPS_AT_ONCE = 100

tasks = restate.Service("tasks")
calls = restate.Service("calls")
steps = restate.Service("steps")

BYTES = {
    "accept": "application/octet-stream",
    "content_type": "application/octet-stream",
    "input_serde": BytesSerde(),
    "output_serde": BytesSerde(),
}


@tasks.handler()
async def nothing(_context: restate.Context, number: int) -> int:
    return work.nothing(number)


@tasks.handler()
async def increment(_context: restate.Context, number: int) -> int:
    return work.increment(number)


@tasks.handler()
async def total(_context: restate.Context, numbers: list[int]) -> int:
    return work.total(numbers)


@tasks.handler(**BYTES)
async def same(_context: restate.Context, content: bytes) -> bytes:
    return work.same(content)


@calls.handler("single")
async def single_by_call(context: restate.Context, number: int) -> int:
    return await context.service_call(increment, arg=number)


@calls.handler("chain")
async def chain_by_calls(context: restate.Context, n: int) -> int:
    number = 0
    for _ in range(n):
        number = await context.service_call(increment, arg=number)
    return number


@calls.handler("fan")
async def fan_by_calls(context: restate.Context, n: int) -> int:
    """Awaits the calls one after the other: `restate.gather` takes time by the square of their number."""
    results = [context.service_call(nothing, arg=number) for number in range(n)]
    return await context.service_call(total, arg=[await result for result in results])


@calls.handler("big", **BYTES)
async def big_by_call(context: restate.Context, content: bytes) -> bytes:
    return await context.service_call(same, arg=content)


@steps.handler("single")
async def single_by_step(context: restate.Context, number: int) -> int:
    return await context.run_typed("increment", work.increment, number=number)


@steps.handler("chain")
async def chain_by_steps(context: restate.Context, n: int) -> int:
    number = 0
    for _ in range(n):
        number = await context.run_typed("increment", work.increment, number=number)
    return number


@steps.handler("fan")
async def fan_by_steps(context: restate.Context, n: int) -> int:
    numbers = []
    for first in range(0, n, STEPS_AT_ONCE):
        portion = range(first, min(n, first + STEPS_AT_ONCE))
        results = [context.run_typed("nothing", work.nothing, number=number) for number in portion]
        await restate.gather(*results)
        numbers += [await result for result in results]
    return await context.run_typed("total", work.total, numbers=numbers)


@steps.handler("big", **BYTES)
async def big_by_step(context: restate.Context, content: bytes) -> bytes:
    options = restate.RunOptions(serde=BytesSerde())
    return await context.run_typed("same", work.same, options, content=content)


app = restate.app([tasks, calls, steps])
