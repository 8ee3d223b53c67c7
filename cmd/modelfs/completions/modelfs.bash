# bash completion for modelfs. Load it with: source <(modelfs completion bash)
_modelfs() {
    local line=${COMP_LINE:0:COMP_POINT} words current written candidate
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]}-1]}
    # bash replaces only what follows the last : or = of the word.
    written=${current%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        candidate=$(printf '%q' "$candidate")
        COMPREPLY+=("${candidate#"$written"}")
    done < <(command "${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -o bashdefault -o default -F _modelfs modelfs
