# fish completion for modelfs. Load it with: modelfs completion fish | source
function __modelfs_complete
    set -l words (commandline -opc) (commandline -ct)
    command modelfs __complete $words[2..-1] 2>/dev/null
end
complete -c modelfs -a '(__modelfs_complete)'
