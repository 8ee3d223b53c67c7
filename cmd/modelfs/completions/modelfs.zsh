#compdef modelfs
# zsh completion for modelfs. Load it with: source <(modelfs completion zsh)
_modelfs() {
    local -a candidates
    candidates=("${(@f)$(command modelfs __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=("${(@)candidates%%$'\t'*}")
    if [[ -n "${candidates[1]}" ]]; then
        compadd -- "${candidates[@]}"
    else
        _files
    fi
}
if [[ "${funcstack[1]}" == _modelfs ]]; then
    _modelfs "$@"
else
    compdef _modelfs modelfs
fi
