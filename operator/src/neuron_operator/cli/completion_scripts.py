"""`kubectl-neuron completion SHELL`: completion for those who type `kubectl-neuron`, without kubectl in between.

Each script asks `kubectl_complete-neuron` beside the program that was typed, as kubectl does, so that
`.venv/bin/kubectl-neuron` and the archive of a release are completed alike.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_BASH: Final = r"""# source <(kubectl-neuron completion bash)
_kubectl_neuron() {
  local line before=${COMP_LINE:0:COMP_POINT} prefix= directive= program words
  program=$(type -P -- "${COMP_WORDS[0]/#\~/$HOME}") || return
  read -r -a words <<< "$before"
  [[ $before == *[[:space:]] ]] && words+=("")
  # Readline completes what follows the "=" alone.
  [[ $COMP_WORDBREAKS == *=* && ${words[-1]} == *=* ]] && prefix=${words[-1]%"${words[-1]##*=}"}
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :*) directive=$line ;;
      *) COMPREPLY+=("${line#"$prefix"}") ;;
    esac
  done < <("${program%/*}/kubectl_complete-neuron" "${words[@]:1}" 2> /dev/null)
  [[ $directive == :4 ]] || compopt -o default
}
complete -F _kubectl_neuron kubectl-neuron
"""

_ZSH: Final = r"""#compdef kubectl-neuron
# source <(kubectl-neuron completion zsh), after compinit
_kubectl_neuron() {
  local program=${commands[$words[1]]:-${~words[1]}}
  local -a lines
  lines=("${(@f)$("${program:h}/kubectl_complete-neuron" "${(@Q)words[2,CURRENT]}" 2> /dev/null)}")
  local directive=$lines[-1]
  lines[-1]=()
  (( $#lines )) && compadd -- $lines
  [[ $directive == :4 ]] || _files
}
compdef _kubectl_neuron kubectl-neuron
"""

_FISH: Final = r"""# kubectl-neuron completion fish | source
function __kubectl_neuron
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (command -s -- $words[1]); or return
    set -l helper (dirname -- $program)/kubectl_complete-neuron
    set -l lines ($helper $words[2..-1] "$current" 2> /dev/null)
    test "$lines[-1]" = :4; or __fish_complete_path "$current"
    printf '%s\n' $lines[1..-2]
end
complete -c kubectl-neuron -f -a '(__kubectl_neuron)'
"""

SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def parser() -> argparse.ArgumentParser:
    """Return the command line of `kubectl-neuron completion`."""
    result = argparse.ArgumentParser(
        "kubectl neuron completion",
        description="A script that completes `kubectl-neuron`: source it in your shell's start-up file. "
        "`kubectl neuron` is completed by kubectl's own completion.",
    )
    result.add_argument("shell", choices=SCRIPTS)
    return result


def run(arguments: Sequence[str], write: Callable[[str], None]) -> int:
    """Write the script for a shell."""
    write(SCRIPTS[parser().parse_args(arguments).shell])
    return 0
