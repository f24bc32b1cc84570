-- Shows one letter.
-- ARGV: id
advance()
return state_of(ARGV[3]) and row(ARGV[3], face_of(ARGV[3]))
