"""`fetcher completion SHELL`: the script that makes a shell complete commands, options and their values."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", epilog="Example: fetcher completion bash")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    r"""Write the shell's completion script to stdout. It asks this program, so it stays right.

    \b
    bash: fetcher completion bash > ~/.local/share/bash-completion/completions/fetcher
    zsh:  fetcher completion zsh > "${fpath[1]}/_fetcher"
    fish: fetcher completion fish > ~/.config/fish/completions/fetcher.fish
    """
    from click.shell_completion import get_completion_class

    from fetcher.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None  # click has one for each of SHELLS
    click.echo(completion(cli, {}, "fetcher", "_FETCHER_COMPLETE").source())
    return 0
