"""`fetcher completion SHELL`: the script that makes a shell complete commands, options and their values.

click answers what the script asks. Its own scripts complete no value behind `--option=`, and the one of zsh
answers only every other TAB at first: hence the classes here. To import this module puts them in the place of
click's.
"""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)


class BashCompletion(BashComplete):
    """The completion in bash, which takes words apart at `=`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        return [word for word in args if word != "="], incomplete


class ZshCompletion(ZshComplete):
    """The completion in zsh, which is told what of the word stays."""

    source_template = r"""#compdef %(prog_name)s

%(complete_func)s() {
    local type key descr
    local -a plain described response
    (( $+commands[%(prog_name)s] )) || return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete %(prog_name)s)}")
    compset -P 1 '--*='
    for type key descr in $response; do
        case $type:$descr in
            dir:*) _path_files -/ ;;
            file:*) _path_files -f ;;
            plain:_) plain+=("$key") ;;
            plain:*) described+=("$key:$descr") ;;
        esac
    done
    if (( $#described )); then _describe -V unsorted described; fi
    if (( $#plain )); then compadd -V unsorted -a plain; fi
}

if [[ $funcstack[1] == _%(prog_name)s ]]; then  # loaded from $fpath
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class FishCompletion(FishComplete):
    """The completion in fish, which is given the whole word."""

    source_template = r"""function %(complete_func)s
    set -l word (commandline -t)
    set -l option (string match -r -- '^--[^=]*=' $word)
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
        COMP_CWORD="$word" %(prog_name)s)
    for line in $response
        set -l found (string split -m 1 , -- $line)
        switch $found[1]
            case dir
                set found (__fish_complete_directories $found[2])
            case file
                set found (__fish_complete_path $found[2])
            case plain
                set found $found[2]
        end
        printf '%%s\n' "$option"$found
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashCompletion,
    "zsh": ZshCompletion,
    "fish": FishCompletion,
}
for _class in SHELLS.values():
    add_completion_class(_class)


@click.command("completion", epilog="Example: fetcher completion bash")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> int:
    r"""Write the shell's completion script to stdout. It asks this program, so it stays right.

    \b
    bash: fetcher completion bash > ~/.local/share/bash-completion/completions/fetcher
    zsh:  fetcher completion zsh > "${fpath[1]}/_fetcher"
    fish: fetcher completion fish > ~/.config/fish/completions/fetcher.fish
    """
    program = click.get_current_context().find_root().command
    click.echo(SHELLS[shell](program, {}, "fetcher", "_FETCHER_COMPLETE").source())
    return 0
