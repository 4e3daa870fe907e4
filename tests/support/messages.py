"""What the program says to mistakes: one row each, to be judged at a glance.

Of a row: the command line after `fetcher`, the exit code, and the first lines of standard error, as they
stand. `$URL` is a page of the site, `$SITE` its host and port. The folder has `list.txt` (a page, a line that
lacks its scheme, a page that is gone), `empty.txt`, `afile`, `binary.bin`, `job.toml` and `table.csv`.
"""

from __future__ import annotations

FILES = {
    "list.txt": "http://$SITE/p/0\n\nexample.org/x\nhttp://$SITE/gone\n",
    "empty.txt": "",
    "afile": "x",
    "binary.bin": "\0\1\2\3",
    "job.toml": '[job]\ncommand = "get"\nurls = ["$URL"]\n[common]\nbackend = "nope"\n',
    "refresh.toml": '[job]\ncommand = "get"\nurls = ["example.org"]\n',
    "table.csv": "url,team\nhttp://$SITE/p/0,blue\n",
    "old.toml": '[common]\nheader = ["A: b"]\nheaders = ["A: b"]\n',
}

MESSAGES: tuple[tuple[str, int, str], ...] = (
    # --- commands
    ("$URL", 2, "fetcher: there is no command $URL\n  to download it: fetcher get $URL"),
    ("example.org", 2, "fetcher: there is no command example.org\n  to download it: fetcher get example.org"),
    ("gett $URL", 2, "fetcher: there is no command gett\n  did you mean fetcher get?"),
    ("mirror $URL", 2, "fetcher: there is no command mirror\n  did you mean fetcher crawl?"),
    ("list.txt", 2, "fetcher: there is no command list.txt\n  its URLs: fetcher get -i list.txt"),
    ("job.toml", 2, "fetcher: there is no command job.toml\n  its job: fetcher run job.toml"),
    ("help get", 2, "fetcher: there is no command help\n  fetcher get --help"),
    ("-V", 2, "fetcher: there is no option -V\n  fetcher --version tells the version"),
    (
        "--rate 3/s get $URL",
        2,
        "fetcher: there is no option --rate\n  options stand after the command: fetcher get --rate …",
    ),
    # --- options
    (
        "get -k $URL",
        2,
        (
            "fetcher: there is no option -k\n"
            "  curl's -k is --insecure here; wget's -k is --convert-links of fetcher crawl here"
        ),
    ),
    ("get -I $URL", 2, "fetcher: there is no option -I\n  curl's -I is --method HEAD here"),
    (
        "get -L $URL",
        2,
        (
            "fetcher: there is no option -L\n"
            "  curl's -L is not needed: redirects are followed, at most --max-redirects"
        ),
    ),
    ("get --tries 3 $URL", 2, "fetcher: there is no option --tries\n  wget's --tries is --retries here"),
    (
        "get --limit-rate=1M $URL",
        2,
        "fetcher: there is no option --limit-rate\n  curl's and wget's --limit-rate is --max-bandwidth here",
    ),
    (
        "get -nc $URL",
        2,
        (
            "fetcher: there is no option -nc\n"
            "  wget's -nc is not needed: what is done is not fetched again, and no other file is overwritten"
        ),
    ),
    (
        "get -x 4 $URL",
        2,
        (
            "fetcher: there is no option -x\n  curl's -x is --proxy here; "
            "wget's -x is not needed: folders are made; aria2's -x is --per-host here"
        ),
    ),
    ("get --concurency 5 $URL", 2, "fetcher: there is no option --concurency\n  did you mean --concurrency?"),
    (
        "get --depth 2 $URL",
        2,
        "fetcher: there is no option --depth\n  only crawl takes it: see fetcher crawl --help",
    ),
    ("get -output out $URL", 2, "fetcher: -output has one hyphen\n  write --output"),
    ("get –output out $URL", 2, "fetcher: –output begins with a dash that is no hyphen\n  write --output"),
    ("get -O", 2, "fetcher: -O: expected a value after it\n  see fetcher get --help"),
    ("get --json=yes $URL", 2, "fetcher: --json: takes no value\n  see fetcher get --help"),
    # --- values
    (
        "get -c many $URL",
        2,
        "fetcher: --concurrency: expected a whole number from 1 to 100000, got 'many'",
    ),
    (
        "get --backend nope $URL",
        2,
        "fetcher: --backend: there is no 'nope'\n  choose from asyncio, curl, sync, threads",
    ),
    (
        "run job.toml",
        2,
        "fetcher: job.toml:5: backend: there is no 'nope'\n  choose from asyncio, curl, sync, threads",
    ),
    (
        "get $URL --config old.toml",
        2,
        "fetcher: old.toml:2: header: it is headers by its old name, and headers is given too",
    ),
    ("get --retry-failed --restart $URL", 2, "fetcher: --retry-failed: cannot stand together with --restart"),
    ("get --refresh --restart $URL", 2, "fetcher: --refresh: cannot stand together with --restart"),
    ("get -4 -6 $URL", 2, "fetcher: --ipv4: cannot stand together with --ipv6"),
    (
        "get --name {nope} -i table.csv",
        2,
        (
            "fetcher: --name: bad template '{nope}': there is no field 'nope'\n"
            "  fields are host path stem ext query sha256 index date team; {{ and }} stand for braces"
        ),
    ),
    (
        "get --ca-file none.pem $URL",
        2,
        "fetcher: --ca-file: cannot read none.pem: there is no such file\n  name a PEM file",
    ),
    ("get --log-file no/log $URL", 2, "fetcher: --log-file: cannot write no/log: No such file or directory"),
    ("get -o afile $URL", 5, "fetcher: --output: afile is a file, not a folder\n  choose another --output"),
    (
        "get -O $URL",
        2,
        (
            "fetcher: --output-file: $URL is a URL, not a file\n"
            "  write -O FILE URL; without -O, files are named by their URLs"
        ),
    ),
    (
        "get --config none.toml $URL",
        2,
        "fetcher: --config: cannot read none.toml: No such file or directory",
    ),
    (
        "get -c $URL",
        2,
        (
            "fetcher: --concurrency: expected a whole number from 1 to 100000, got '$URL'\n"
            "  it takes a value, which stands before the URL"
        ),
    ),
    (
        "crawl --include *.pdf $URL",
        2,
        (
            "fetcher: --include: bad pattern '*.pdf': no argument for repetition operator: *\n"
            "  it is a regular expression, not a glob: '*.pdf' is '\\.pdf$$' here"
        ),
    ),
    ("status", 2, "fetcher: expected DIR...\n  see fetcher status --help"),
    ("run", 2, "fetcher: expected JOB\n  see fetcher run --help"),
    (
        "compare -k",
        2,
        (
            "fetcher: there is no option -k\n"
            "  curl's -k is --insecure here; wget's -k is --convert-links of fetcher crawl here"
        ),
    ),
    ("demo --nope", 2, "fetcher: there is no option --nope\n  see fetcher demo --help"),
    (
        "get $URL -o page.html",
        0,
        "warning: page.html is made a folder: --output is the run directory; one file is -O page.html",
    ),
    (
        "get $URL --json {}",
        2,
        "fetcher: {} is no URL\n  a request's body is --data; --json takes no value",
    ),
    # --- lists and URLs
    ("get", 2, "fetcher: nothing to fetch\n  give URLs, or --input FILE (- is standard input)"),
    (
        "get list.txt",
        2,
        "fetcher: list.txt is a file, not a URL\n  to fetch the URLs in it: --input list.txt",
    ),
    ("get -", 2, "fetcher: - is no URL\n  standard input is --input -"),
    (
        "get -i $URL",
        2,
        (
            "fetcher: --input: $URL is a URL, not a file of URLs\n"
            "  give it as an argument; for what it lists: fetcher get -O - URL | fetcher get -i -"
        ),
    ),
    (
        "get -i binary.bin",
        2,
        (
            "fetcher: binary.bin:1: this is no list of URLs\n"
            "  a list is text, JSON, JSONL, CSV or Metalink in UTF-8, or in UTF-16 with a byte order mark; gzip or not"
        ),
    ),
    ("get -i empty.txt", 0, "warning: empty.txt is empty: there is no URL in it"),
    (
        "get --dry-run $SITE/p/0",
        0,
        "$SITE/p/0 has no scheme: https://$SITE/p/0 is tried\ndry run: 1 to fetch",
    ),
    (
        "run refresh.toml",
        1,
        "refused: example.org: bad-url (the URL has no scheme; did you mean https://example.org/?)",
    ),
    (
        "get -i list.txt",
        1,
        (
            "refused: example.org/x: bad-url (the URL has no scheme; did you mean https://example.org/x?), "
            "list.txt:3\nfailed: http://$SITE/gone: http-status (HTTP 404), list.txt:4"
        ),
    ),
    (
        "get http://$SITE/[1-3] --store none",
        1,
        "warning: [1-3] is taken as it is: nothing in a URL is expanded here",
    ),
)
