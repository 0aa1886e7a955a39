r"""Logs of builds, as builders write them, and as nobody should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGINNING: Final = """\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 842B done
#1 DONE 0.1s

#2 [internal] load metadata for docker.io/library/python:3.11-slim
#2 DONE 0.7s

#3 [1/6] FROM docker.io/library/python:3.11-slim@sha256:4b1fe1a6f5a1f9a8
#3 CACHED

#4 [2/6] WORKDIR /srv
#4 CACHED

#5 [3/6] COPY requirements.txt ./
#5 DONE 0.1s

#6 [4/6] RUN pip install --require-hashes -r requirements.txt
#6 0.912 Collecting starlette==1.10.1
#6 1.274   Downloading starlette-1.10.1-py3-none-any.whl (76 kB)
#6 1.481 Collecting asyncpg==0.32.0
#6 1.702   Downloading asyncpg-0.32.0-cp311-manylinux_2_28_x86_64.whl (3.1 MB)
"""

SUCCESS: Final = (
    BEGINNING
    + """\
#6 4.113 \x1b[32mSuccessfully installed\x1b[0m asyncpg-0.32.0 starlette-1.10.1
#6 4.120 \x1b[33mWARNING\x1b[0m: Running pip as the 'root' user can result in broken permissions
#6 DONE 5.2s

#7 [5/6] COPY . .
#7 DONE 0.2s

#8 [6/6] RUN python -m compileall -q app
#8 0.512 Compiling 64 files
#8 DONE 1.9s

#9 exporting to image
#9 exporting layers 0.4s done
#9 writing image sha256:9d3b5c2f7a10 done
#9 DONE 0.5s
"""
)

FAILURE: Final = (
    """\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 512B done
#1 DONE 0.1s

#2 [internal] load metadata for docker.io/library/node:22
#2 DONE 0.8s

#3 [1/5] FROM docker.io/library/node:22@sha256:91ac03dd27b5e6f0
#3 CACHED

#4 [2/5] WORKDIR /site
#4 CACHED

#5 [3/5] COPY package.json package-lock.json ./
#5 DONE 0.1s

#6 [4/5] RUN npm ci
"""
    + "".join(
        f"#6 {0.4 + 0.31 * number:.3f} \x1b[33mnpm warn\x1b[0m \x1b[1mdeprecated\x1b[0m {name}: {why}\n"
        for number, (name, why) in enumerate(
            [
                ("inflight@1.0.6", "this module is not supported, and leaks memory"),
                ("glob@7.2.3", "versions before 9 are no longer supported"),
                ("rimraf@3.0.2", "versions before 4 are no longer supported"),
                ("abab@2.0.6", "use the platform's own atob() and btoa()"),
            ]
        )
    )
    + """\
#6 3.950 \x1b[31mnpm error\x1b[0m code EUSAGE
#6 3.951 \x1b[31mnpm error\x1b[0m `npm ci` can only install packages when package.json and package-lock.json are in sync
#6 3.952 \x1b[31mnpm error\x1b[0m Missing: vite@7.1.0 from lock file
#6 ERROR: process "/bin/sh -c npm ci" did not complete successfully: exit code: 1

ERROR: step "[4/5] RUN npm ci" failed with exit code 1; the end of the build log shows what it said
"""
)

WHY_IT_FAILED: Final = 'step "[4/5] RUN npm ci" failed with exit code 1; the end of the build log shows what it said'
LAST_WORDS: Final = (
    "Traceback (most recent call last):\n  File \"app/main.py\", line 12\nKeyError: 'PLATFORM_API_KEY'\n"
)

SCRIPT: Final = "<script>alert(1)</script>"
HOSTILE: Final = (
    f"#6 5.001 {SCRIPT}<img src=x onerror=alert(2)>\n"
    "#6 5.002 \x1b]0;a title\x07\x1b[2J\x1b[31mred\x1b[0m \x1b[8mhidden\x1b[0m "
    "\x1b]8;;javascript:alert(3)\x1b\\link\x1b]8;;\x1b\\\n"
)

PIECE_LINES: Final = 1000


def endless(lines: int) -> Iterator[str]:
    """Pieces of a log of so many lines: ``line 0`` and so on, one step after the other."""
    steps = lines // PIECE_LINES
    for step in range(1, steps + 1):
        first = (step - 1) * PIECE_LINES
        body = "".join(f"#{step} {n / 1000:.3f} line {first + n}\n" for n in range(PIECE_LINES - 2))
        yield f"#{step} [{step}/{steps}] RUN make part-{step}\n{body}#{step} DONE 1.0s\n"
