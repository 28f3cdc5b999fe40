"""Everything that decides, and nothing that acts: arguments in, frozen dataclasses out; `now` is an argument.

May not import kopf, kubernetes, asyncio, aiohttp, time or random (.importlinter). One policy is one file with one test.
"""
