"""Advice: what to do about the state that a URL is in, by the error or the rule that put it there."""

from __future__ import annotations

from typing import Final

from fetcher.story.url_story import UrlStory

AGAIN: Final = "run the same command with --retry-failed"
LATER: Final = f"it may pass: {AGAIN}"
ANYWAY: Final = "to have it fetched all the same: "

# By the slug of a failure or refusal.
BY_ERROR: Final[dict[str, str]] = {
    "retry-later": f"the server asked for a longer wait than --max-wait allows: {AGAIN} later, or raise it",
    "name-not-resolved": f"look at the host's spelling; if it is right, {AGAIN} later",
    "connect-failed": f"see that the server runs and can be reached from here, then {AGAIN};"
    " more time: --connect-timeout",
    "tls-rejected": "look at the server's certificate; a private authority is named by --ca-file,"
    " and --insecure takes any",
    "timed-out": f"{LATER}; more time: --connect-timeout, --header-timeout, --read-timeout, --timeout, or a"
    " smaller --min-speed, as the message says",
    "connection-lost": f"{LATER}; a large body goes on where it ended",
    "protocol-broken": "the server does not speak HTTP as it should; see if another --backend forgives it",
    "partial-answer": f"the server sent a part that nobody asked for, and ignores what was: {AGAIN}, or with"
    " --no-resume",
    "bad-encoding": f"the body is not what its Content-Encoding says: {AGAIN}, or ask for none with"
    " -H 'Accept-Encoding: identity'",
    "too-large": "to have it: a larger --max-size, and --retry-failed",
    "redirect-loop": "the server sends it round in circles; it may want a cookie (--cookies) or a login",
    "too-many-redirects": "to follow more: --max-redirects, and --retry-failed",
    "bad-redirect": "the server's redirect leads nowhere: the URL is to be mended there, or in the list",
    "checksum": f"the file is not the one that the list describes: mend the sum there, or {AGAIN}",
    "private-address": f"{ANYWAY}--private-addresses allow, if you trust what leads there",
    "bad-url": "correct it where it is listed",
    "bad-entry": "correct the line in the list",
    "robots": f"{ANYWAY}--no-robots, if its owner agrees",
    "robots-unreachable": f"nothing is asked of a site whose robots.txt can't be had: {AGAIN} when it is up",
    "parse-failed": "its file is there: mend the parser, and run the same command with --retry-failed;"
    " limits are --parser-timeout and --parser-memory",
    "worker-died": f"it was in hand when worker processes died: {AGAIN}; alone if it does that again",
    "storage-failed": f"look at the disk and the folder's permissions, then {AGAIN}",
}

# By the rule of a crawl that left it out.
BY_RULE: Final[dict[str, str]] = {
    "scope": f"{ANYWAY}a wider --scope, or name it as a seed",
    "depth": f"{ANYWAY}a larger --depth",
    "include": f"{ANYWAY}an --include that it matches",
    "exclude": f"{ANYWAY}leave that --exclude away",
    "url-length": "name it as a seed; longer URLs are nearly always traps",
    "repeating-path": "name it as a seed; a path that repeats itself is nearly always a trap",
    "nofollow": f"{ANYWAY}--ignore nofollow",
    "redirects": f"{ANYWAY}a larger --max-redirects",
    "session-id": f"{ANYWAY}--keep-session-ids",
    "variants": f"{ANYWAY}a larger --max-variants",
    "host-pages": f"{ANYWAY}a larger --max-host-pages",
    "other-shard": "it was handed to that shard, which tells the rest: name the folder of all shards instead",
    "credentials": "links with credentials in them are not followed; name it as a seed",
    "bad-url": "the link is no URL that can be asked for; it is to be mended on that page",
}


def advice_on(story: UrlStory, *, is_running: bool) -> list[str]:
    """Return what to do, in sentences without a stop at their ends; nothing where all is well."""
    state, error = story.state, story.error or ""
    if state == "pending":
        if is_running:
            return ["a run is under way: wait for it"]
        return ["run the same command again: it goes on"]
    if state == "withheld":
        return ["its credentials are not in the state: list it again, with them"]
    if state == "forgotten":
        return ["--restart forgot it, and it was not listed or found since"]
    if state == "left-out":
        rule = BY_RULE.get(error)
        return [] if rule is None else [rule]
    if error == "http-status":
        return [by_status(story.status or 0)]
    if state in {"failed", "refused"} and error in BY_ERROR:
        return [BY_ERROR[error]]
    return [AGAIN] if state == "failed" else []


def by_status(status: int) -> str:
    """Return what to do about an answer of a status from 400 up."""
    if status in {401, 407}:
        return "the server wants credentials: --user, --netrc or --header, then --retry-failed"
    if status == 403:
        return "the server does not want this: it may want credentials, cookies or another --user-agent"
    if status in {404, 410}:
        return "the server does not have it: correct or drop the URL where it is listed or linked"
    if status == 429:
        return f"the server is asked too often: {AGAIN}, with a smaller --per-host, a --delay or a --rate"
    if status >= 500 or status in {408, 425}:
        return f"{LATER}; gentler: a smaller --per-host, a --delay; more patient: --retries"
    return "the server refused the request as it was made: look at the URL, --method and --header"
