# Sourced by what runs tests, which has read its words into the array `words`: names that hold one of them
# are wanted, all where there is none.
declare -A met=()
wanted() {
    [ ${#words[@]} = 0 ] && return
    local word status=1
    for word in "${words[@]}"; do
        case $1 in *"$word"*) met[$word]=1 status=0 ;; esac
    done
    return $status
}

# Names the words that no name held, and fails where there are such.
all_met() {
    local word status=0
    for word in "${words[@]}"; do
        [ -n "${met[$word]:-}" ] || { echo "'$word': no test has that in its name"; status=1; }
    done
    return $status
}
