# The x axis of figures by length: marks at the lengths that were run, binary logarithm.
set logscale x 2
set xlabel 'document and query, tokens' offset 0, 0.4
set xtics ()
do for [i = 1:words(lengths)] {
    set xtics add (word(names, i) real(word(lengths, i)))
}
set xrange [real(word(lengths, 1)) / 1.15 : real(word(lengths, words(lengths))) * 1.15]
