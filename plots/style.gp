# What all figures share: terminals, axes, and line styles that stay apart in grey (dashes, points
# and shades differ together). Loaded by the other scripts, which get these variables with -e:
#   scripts  folder of these scripts     data    file to plot, blocks parted by two empty lines
#   format   png or svg                  output  file to write
#   heading  the figure's title          styles  one line style for each block of data
#   lengths, names  where the x axis has its marks, and what stands there
if (format eq 'png') {
    set terminal pngcairo noenhanced size 1500,1000 font 'sans-serif,22' linewidth 2 \
        background 'white'
} else {
    set terminal svg noenhanced size 1000,667 dynamic font 'sans-serif,15' linewidth 1.5 \
        background 'white'
}
set output output
set encoding utf8
size = format eq 'png' ? 22 : 15
small_size = format eq 'png' ? 17 : 12
small = sprintf('sans-serif,%g', small_size)
# The font of a text that has room for so many characters at the full size.
fitting(full, length, room) = \
    sprintf('sans-serif,%.1f', full * (length > room ? real(room) / length : 1))
heading_font = fitting(size, strlen(heading), 90)
set title heading font heading_font
set key outside bottom center horizontal Left reverse samplen 3 spacing 1.15 maxcols 3
set border 3 linecolor rgb '#333333' linewidth 0.8
set tics nomirror out scale 0.6
set grid y linecolor rgb '#d0d0d0' linewidth 0.6 dashtype solid

# 1-10 a method of ours, 21-30 the paper's figure for it, 40 the bound of exact attention.
array colour[10] = ['#000000', '#0072b2', '#56b4e9', '#009e73', '#e69f00', \
                    '#d55e00', '#cc79a7', '#7f3c8d', '#8c6d31', '#666666']
array filled[10] = [7, 5, 9, 11, 13, 15, 7, 5, 9, 11]
array hollow[10] = [6, 4, 8, 10, 12, 14, 6, 4, 8, 10]
array dashes[10] = [1, 2, 5, 4, 2, 1, 5, 4, 2, 5]
array width[10] = [1.6, 1.6, 1.6, 1.6, 1.6, 2.6, 1.6, 1.6, 1.6, 1.6]
do for [i = 1:10] {
    set style line i linecolor rgb colour[i] linewidth width[i] dashtype dashes[i] \
        pointtype filled[i] pointsize 1.5
    set style line (20 + i) linecolor rgb colour[i] linewidth 1 dashtype 3 \
        pointtype hollow[i] pointsize 1.5
}
set style line 40 linecolor rgb '#bbbbbb' linewidth 4 pointtype -1 dashtype 1

series = words(styles)
style_of(i) = int(word(styles, i + 1))
