# Sourced by what runs tests, which has read its words into the array `words`: names that hold one of them
# are wanted, all where there is none.
wanted() {
    [ ${#words[@]} = 0 ] && return
    local word
    for word in "${words[@]}"; do
        case $1 in *"$word"*) return 0 ;; esac
    done
    return 1
}
